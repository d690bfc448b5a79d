error        The agent's key was refused (Internal error: Unauthorized (401) from http://127.0.0.1:1/v1/chat/completions: authentication_error: Incorrect API key provided: ***.

  Model:     scripted-1
  Auth:      ApiKey
  Version:   1.0.41
  Available: scripted-1). Check XAI_API_KEY of the server.
end          failed
