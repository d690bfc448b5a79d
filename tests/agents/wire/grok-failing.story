thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo hello > greeting.txt; cat greeting.txt; exit 3
question     Allow: Execute `echo hello > greeting.txt; cat greeting.txt; exit 3`? [Yes, and don't ask again for bash commands | Yes, proceed | No, and tell Grok what to do differently | No, and don't ask again for this command]
tool_result  Bash completed, exit code 3: "hello\n"
thinking     "The tool has answered."
answer       "All done."
end          end_turn input_tokens=240 output_tokens=60
