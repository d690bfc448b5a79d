-- name: data_directory
-- The data directory of the server behind this connection.
SHOW data_directory

-- name: has_database
-- Whether our database exists on this server.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'missionstream')

-- name: create_database
-- Our database, owned by the role that runs this; outside a transaction.
CREATE DATABASE missionstream
