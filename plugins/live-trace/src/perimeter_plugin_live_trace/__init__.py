"""Live trace: what agents and models say, in a dashboard, an API and an MCP server."""
