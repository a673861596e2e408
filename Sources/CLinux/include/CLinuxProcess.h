// Placeholder until process starting lands.
