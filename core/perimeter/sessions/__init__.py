"""Which conversation, agent and workflow a call belongs to."""
