thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Write {"file_path": "/space/notes.txt", "content": "I will use a tool now."}
question     Allow: Write notes.txt? [Always Allow all Write | Allow | Reject]
tool_result  Write completed: {"output":"File created successfully at: /space/notes.txt (file state is current in your context — no need to Read it back)","diff":[{"path":"/space/notes.txt","old_text":"","new_text":"I will use a tool now."}]}
thinking     "The tool has answered."
answer       "All done."
end          end_turn input_tokens=240 output_tokens=60
