error        The agent's key was refused (Internal error: Incorrect API key provided: ***: {"service": "session", "errorName": "APIError"}). Check OPENAI_API_KEY of the server.
end          failed
