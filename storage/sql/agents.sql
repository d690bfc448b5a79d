-- name: listed
-- The agents of a workspace ($1), or of a crew of it ($2), leads first, then as they came; a page ($3 limit, $4 offset).
SELECT a.id, a.workspace_id, a.crew_id, a.name, a.slug, a.description, a.role_title, a.agent_role, a.lead_mode,
       a.cli_adapter, a.llm_provider, a.model, a.system_prompt, a.avatar_seed, a.avatar_style, a.tool_profile,
       a.timeout_seconds, a.memory_enabled, a.updated_at, a.created_at,
       c.name AS crew_name, c.slug AS crew_slug, c.color AS crew_color, c.avatar_style AS crew_avatar_style,
       EXISTS (SELECT FROM tasks AS t WHERE t.workspace_id = a.workspace_id AND t.run_id IS NOT NULL
                  AND (t.state ->> 'run_agent_id')::uuid = a.id) AS is_working
  FROM agents AS a LEFT JOIN crews AS c ON c.workspace_id = a.workspace_id AND c.id = a.crew_id
 WHERE a.workspace_id = $1 AND ($2::uuid IS NULL OR a.crew_id = $2) AND a.deleted_at IS NULL
 ORDER BY a.agent_role = 'LEAD' DESC, a.created_at, a.id LIMIT $3 OFFSET $4;

-- name: counted
-- How many agents a workspace ($1), or a crew of it ($2), has.
SELECT count(*) FROM agents WHERE workspace_id = $1 AND ($2::uuid IS NULL OR crew_id = $2) AND deleted_at IS NULL;

-- name: one
-- An agent ($2 of workspace $1) that is not deleted.
SELECT a.id, a.workspace_id, a.crew_id, a.name, a.slug, a.description, a.role_title, a.agent_role, a.lead_mode,
       a.cli_adapter, a.llm_provider, a.model, a.system_prompt, a.avatar_seed, a.avatar_style, a.tool_profile,
       a.timeout_seconds, a.memory_enabled, a.updated_at, a.created_at,
       c.name AS crew_name, c.slug AS crew_slug, c.color AS crew_color, c.avatar_style AS crew_avatar_style,
       EXISTS (SELECT FROM tasks AS t WHERE t.workspace_id = a.workspace_id AND t.run_id IS NOT NULL
                  AND (t.state ->> 'run_agent_id')::uuid = a.id) AS is_working
  FROM agents AS a LEFT JOIN crews AS c ON c.workspace_id = a.workspace_id AND c.id = a.crew_id
 WHERE a.workspace_id = $1 AND a.id = $2 AND a.deleted_at IS NULL;

-- name: names
-- What agents ($2 ids, of workspace $1) are called, deleted ones too.
SELECT id, name, slug FROM agents WHERE workspace_id = $1 AND id = ANY($2::uuid[]);

-- name: ids_of_crew
-- The agents of a crew ($2 of workspace $1), in the order of their making.
SELECT id FROM agents WHERE workspace_id = $1 AND crew_id = $2 AND deleted_at IS NULL ORDER BY created_at, id;

-- name: create
-- Makes an agent (its columns in their order).
INSERT INTO agents (id, workspace_id, crew_id, name, slug, description, role_title, agent_role, lead_mode, cli_adapter,
                    llm_provider, model, system_prompt, avatar_seed, avatar_style, tool_profile,
                    timeout_seconds, memory_enabled, updated_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
RETURNING id;

-- name: update
-- Changes an agent (its columns but the last) that was changed last at a time ($20); nothing if it has moved on.
UPDATE agents SET crew_id = $3, name = $4, slug = $5, description = $6, role_title = $7, agent_role = $8, lead_mode =
                  $9, cli_adapter = $10, llm_provider = $11, model = $12, system_prompt = $13,
                  avatar_seed = $14, avatar_style = $15, tool_profile = $16, timeout_seconds = $17,
                  memory_enabled = $18, updated_at = $19
 WHERE workspace_id = $2 AND id = $1 AND updated_at = $20 AND deleted_at IS NULL
RETURNING id;

-- name: remove
-- Hides an agent ($2 of workspace $1) at a time ($3); gives nothing when it is not there.
UPDATE agents SET deleted_at = $3, updated_at = $3 WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL
RETURNING id;
