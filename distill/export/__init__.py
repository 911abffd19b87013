"""Students to folders that run without torch."""

from distill.export.exporting import ExportOptions, export_model

__all__ = ["ExportOptions", "export_model"]
