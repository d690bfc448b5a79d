thinking     "**A tool is needed here.**\n"
message      "I will use a tool now."
tool_call    Bash echo started > started.txt; cat started.txt; sleep 300
question     Allow: echo started > started.txt; cat started.txt; sleep 300? [Allow for this session | Allow | Reject]
end          cancelled
