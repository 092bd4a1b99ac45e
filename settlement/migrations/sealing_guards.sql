CREATE TRIGGER settlement_sealedentry_immutable BEFORE UPDATE OR DELETE ON settlement_sealedentry
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER settlement_sealedentry_kept BEFORE TRUNCATE ON settlement_sealedentry
    FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change();
DO $$ BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'alatau_app') THEN
        GRANT SELECT, INSERT ON settlement_sealedentry TO alatau_app;
        REVOKE UPDATE, DELETE ON settlement_sealedentry FROM alatau_app;
    END IF;
END $$;
