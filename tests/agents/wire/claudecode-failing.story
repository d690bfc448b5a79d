thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt; exit 3
question     Allow: echo hello > greeting.txt; cat greeting.txt; exit 3? [Always Allow Bash(echo hello *), Bash(exit 3) | Allow | Reject]
tool_result  Bash failed, exit code 3: "Exit code 3\nhello"
thinking     "The tool has answered."
answer       "All done."
end          end_turn input_tokens=240 output_tokens=60
