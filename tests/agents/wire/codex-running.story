message      "Warning: Model metadata for `scripted-1` not found. Defaulting to fallback metadata; this can degrade performance and cause issues.\n\n"
thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo started > started.txt; cat started.txt; sleep 300
question     Allow: echo started > started.txt; cat started.txt; sleep 300? [Yes, proceed | Yes, and don't ask again for commands that start with `echo started > started.txt; cat started.txt; sleep 300` | No, and tell Codex what to do differently]
end          cancelled
