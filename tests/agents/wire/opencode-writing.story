thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Edit {"filePath": "/space/notes.txt", "content": "I will use a tool now."}
question     Allow: /space/notes.txt? [Allow once | Always allow | Reject]
tool_result  Edit completed: {"output":"Wrote file successfully.","diff":[{"path":"/space/notes.txt","old_text":"","new_text":"I will use a tool now."}]}
thinking     "The tool has answered."
answer       "All done."
end          end_turn input_tokens=120 output_tokens=30
