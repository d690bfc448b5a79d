thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt
question     Allow: echo hello > greeting.txt; cat greeting.txt? [Allow once | Always allow | Reject]
tool_result  Bash rejected: "The user rejected permission to use this specific tool call."
end          end_turn input_tokens=120 output_tokens=30
