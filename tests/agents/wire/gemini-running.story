thinking     "**A command is needed here.**\n"
message      "I will run a command now."
tool_call    Bash echo started > started.txt; cat started.txt; sleep 300
question     Allow: echo started > started.txt; cat started.txt; sleep 300? [Allow for this session | Allow | Reject]
tool_result  Bash completed: "Command cancelled by user.\n\nOutput before cancellation:\nstarted"
end          cancelled
