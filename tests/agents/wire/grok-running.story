thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Bash echo started > started.txt; cat started.txt; sleep 300
question     Allow: Execute `echo started > started.txt; cat started.txt; sleep 300`? [Yes, and don't ask again for bash commands | Yes, proceed | No, and tell Grok what to do differently | No, and don't ask again for this command]
end          cancelled
