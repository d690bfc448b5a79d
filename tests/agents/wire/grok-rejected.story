thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt
question     Allow: Execute `echo hello > greeting.txt; cat greeting.txt`? [Yes, and don't ask again for bash commands | Yes, proceed | No, and tell Grok what to do differently | No, and don't ask again for this command]
tool_result  Bash rejected: "User rejected the execution for tool `run_terminal_command`"
end          end_turn input_tokens=120 output_tokens=30
