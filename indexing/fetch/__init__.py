"""Documents by URL, from hosts that the settings name and public addresses only."""
