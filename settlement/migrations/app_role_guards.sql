-- An account's name says whose money it holds, so it is a fact like a posting.
CREATE TRIGGER account_immutable BEFORE UPDATE OR DELETE ON settlement_account
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER account_kept BEFORE TRUNCATE ON settlement_account
    FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change();

-- The application connects as a member of alatau_app, and migrations as the tables' owner. The role
-- may work on every room's tables, those of later migrations too, but changes nothing that the
-- ledger holds, and does not write what migrations were run.
DO $$ BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'alatau_app') THEN
        GRANT USAGE ON SCHEMA public TO alatau_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO alatau_app;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO alatau_app;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public
            GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO alatau_app;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO alatau_app;
        REVOKE UPDATE, DELETE ON settlement_quote, settlement_account, settlement_journalentry,
            settlement_posting FROM alatau_app;
        REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM alatau_app;
    END IF;
END $$;
