"""What the service does under ten times what it can take, and with clients that misbehave."""
