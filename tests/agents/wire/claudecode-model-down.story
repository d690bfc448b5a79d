answer       "API Error: 500 The server had an error. This is a server-side issue, usually temporary \u2014 try again in a moment. If it persists, check your inference gateway (127.0.0.1:1)."
error        The agent reported an error: Internal error: API Error: 500 The server had an error. This is a server-side issue, usually temporary — try again in a moment. If it persists, check your inference gateway (127.0.0.1:1): {"errorKind": "server_error"}. Send the message again to retry.
end          failed
