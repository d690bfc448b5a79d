message      "Warning: Model metadata for `scripted-1` not found. Defaulting to fallback metadata; this can degrade performance and cause issues.\n\n"
thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt
question     Allow: echo hello > greeting.txt; cat greeting.txt? [Yes, proceed | Yes, and don't ask again for commands that start with `echo hello > greeting.txt; cat greeting.txt` | No, and tell Codex what to do differently]
tool_result  Bash rejected: ""
end          end_turn input_tokens=120 output_tokens=30
