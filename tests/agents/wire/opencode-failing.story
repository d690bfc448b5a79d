thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt; exit 3
question     Allow: echo hello > greeting.txt; cat greeting.txt; exit 3? [Allow once | Always allow | Reject]
tool_result  Bash completed, exit code 3: "hello\n"
thinking     "The tool has answered."
answer       "All done."
end          end_turn input_tokens=120 output_tokens=30
