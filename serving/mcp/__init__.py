"""The Model Context Protocol: search, query and open sources from an assistant."""
