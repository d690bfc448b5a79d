message      "Warning: Model metadata for `scripted-1` not found. Defaulting to fallback metadata; this can degrade performance and cause issues.\n\n"
thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt
question     Allow: echo hello > greeting.txt; cat greeting.txt? [Yes, proceed | Yes, and don't ask again for commands that start with `echo hello > greeting.txt; cat greeting.txt` | No, and tell Codex what to do differently]
tool_result  Bash completed, exit code 0: "hello\n"
thinking     "The tool has answered."
answer       "All done."
end          end_turn input_tokens=240 output_tokens=60
