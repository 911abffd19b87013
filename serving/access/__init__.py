"""Who may call the service, for which tenants, how often: keys, tokens, limits, the audit log."""
