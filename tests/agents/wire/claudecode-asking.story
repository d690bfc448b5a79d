thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt
question     Allow: echo hello > greeting.txt; cat greeting.txt? [Always Allow Bash(echo hello *) and access to /space | Allow | Reject]
end          cancelled
