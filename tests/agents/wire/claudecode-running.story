thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo started > started.txt; cat started.txt; sleep 300
question     Allow: echo started > started.txt; cat started.txt; sleep 300? [Always Allow Bash(echo started *) and access to /space | Allow | Reject]
end          cancelled
