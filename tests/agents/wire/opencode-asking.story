thinking     "A command is needed here."
message      "I will run a command now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt
question     Allow: echo hello > greeting.txt; cat greeting.txt? [Allow once | Always allow | Reject]
tool_result  AskUserQuestion cancelled: "Cancelled"
tool_result  Bash failed: "Tool execution aborted"
end          cancelled input_tokens=0 output_tokens=0
