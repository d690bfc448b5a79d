thinking     "A command is needed here."
message      "I will run a command now."
tool_call    Bash echo started > started.txt; cat started.txt; sleep 300
question     Allow: echo started > started.txt; cat started.txt; sleep 300? [Allow once | Always allow | Reject]
tool_result  Bash completed: "started\n\n\n<shell_metadata>\nUser aborted the command\n</shell_metadata>"
end          cancelled input_tokens=0 output_tokens=0
