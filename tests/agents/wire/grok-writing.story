thinking     "A tool is needed here."
message      "I will use a tool now."
tool_call    Edit {"variant": "Write", "file_path": "/space/notes.txt", "content": "I will use a tool now."}
question     Allow: Write `/space/notes.txt`? [Yes, allow all edits during this session | Yes | No, and tell Grok what to do differently]
tool_result  Edit completed: {"output":"","diff":[{"path":"/space/notes.txt","old_text":"","new_text":"I will use a tool now."}]}
thinking     "The tool has answered."
answer       "All done."
end          end_turn input_tokens=240 output_tokens=60
