answer       "Failed to authenticate. API Error: 401 Incorrect API key provided: ***."
error        The agent's key was refused (Internal error: Failed to authenticate. API Error: 401 Incorrect API key provided: ***: {"errorKind": "authentication_failed"}). Check ANTHROPIC_API_KEY of the server.
end          failed
