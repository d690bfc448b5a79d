answer       "Warning: Model metadata for `scripted-1` not found. Defaulting to fallback metadata; this can degrade performance and cause issues.\n\n"
error        The agent's key was refused (Authentication required). Check OPENAI_API_KEY of the server.
end          failed
