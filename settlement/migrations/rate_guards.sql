-- What sources said, when they were asked, and what was made of it: facts, as the ledger's are.
CREATE TRIGGER observation_immutable BEFORE UPDATE OR DELETE ON settlement_observation
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER official_rates_immutable BEFORE UPDATE OR DELETE ON settlement_officialrates
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER attempt_immutable BEFORE UPDATE OR DELETE ON settlement_sourceattempt
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER rate_immutable BEFORE UPDATE OR DELETE ON settlement_combinedrate
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER observation_kept BEFORE TRUNCATE ON settlement_observation
    FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER official_rates_kept BEFORE TRUNCATE ON settlement_officialrates
    FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER attempt_kept BEFORE TRUNCATE ON settlement_sourceattempt
    FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER rate_kept BEFORE TRUNCATE ON settlement_combinedrate
    FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change();

DO $$ BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'alatau_app') THEN
        GRANT SELECT, INSERT ON settlement_observation, settlement_officialrates,
            settlement_sourceattempt, settlement_combinedrate TO alatau_app;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO alatau_app;
        REVOKE UPDATE, DELETE ON settlement_observation, settlement_officialrates,
            settlement_sourceattempt, settlement_combinedrate FROM alatau_app;
    END IF;
END $$;
