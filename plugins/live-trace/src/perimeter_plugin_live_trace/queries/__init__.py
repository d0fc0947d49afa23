"""What pages, the API and the MCP server ask the database."""
