thinking     "**A tool is needed here.**\n"
message      "I will use a tool now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt
question     Allow: echo hello > greeting.txt; cat greeting.txt? [Allow for this session | Allow | Reject]
tool_result  Bash completed: "hello"
thinking     "**The tool has answered.**\n"
answer       "All done."
end          end_turn input_tokens=240 output_tokens=60
