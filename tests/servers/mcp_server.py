"""An MCP server of the official SDK, at http://127.0.0.1:PORT/mcp. Its argument is PORT."""

import sys

from mcp.server.mcpserver import MCPServer

MCPServer("supervisor").run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
