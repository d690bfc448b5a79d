thinking     "**A tool is needed here.**\n"
message      "I will use a tool now."
tool_call    Edit {"path": "/space/notes.txt"}
question     Allow: Writing to notes.txt? [Allow for this session | Allow | Reject]
tool_result  Edit completed: {"output":"","diff":[{"path":"/space/notes.txt","old_text":"","new_text":"I will use a tool now."}]}
thinking     "**The tool has answered.**\n"
answer       "All done."
end          end_turn input_tokens=240 output_tokens=60
