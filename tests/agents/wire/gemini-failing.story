thinking     "**A command is needed here.**\n"
message      "I will run a command now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt; exit 3
question     Allow: echo hello > greeting.txt; cat greeting.txt; exit 3? [Allow for this session | Allow | Reject]
tool_result  Bash completed: "hello"
thinking     "**The command has answered.**\n"
answer       "All done."
end          end_turn input_tokens=240 output_tokens=60
