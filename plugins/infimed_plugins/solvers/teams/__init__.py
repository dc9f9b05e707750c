"""Teams of model calls as others have published them: MDAgents, MedAgents, ReConcile. The prompts are InfiMed's own."""
