thinking     "A command is needed here."
message      "I will run a command now."
tool_call    Bash echo started > started.txt; cat started.txt; sleep 300
question     Allow: echo started > started.txt; cat started.txt; sleep 300? [Always Allow Bash(echo started *) and access to /space | Allow | Reject]
tool_result  Bash cancelled: ""
end          cancelled
