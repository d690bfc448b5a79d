answer       "Warning: Model metadata for `scripted-1` not found. Defaulting to fallback metadata; this can degrade performance and cause issues.\n\nWe\u2019re currently experiencing high demand, which may cause temporary errors.\n\n"
error        The agent reported an error: We’re currently experiencing high demand, which may cause temporary errors. Send the message again to retry.
end          failed
