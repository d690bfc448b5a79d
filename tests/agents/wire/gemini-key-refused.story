error        The agent's key was refused ({"type":"error","error":{"message":"Incorrect API key provided: ***.","type":"authentication_error","code":"invalid_api_key"}}). Check GEMINI_API_KEY of the server.
end          failed
