thinking     "A command is needed here."
message      "I will run a command now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt
question     Allow: echo hello > greeting.txt; cat greeting.txt? [Always Allow Bash(echo hello *) and access to /space | Allow | Reject]
tool_result  AskUserQuestion cancelled: "Cancelled"
tool_result  Bash cancelled: ""
end          cancelled
