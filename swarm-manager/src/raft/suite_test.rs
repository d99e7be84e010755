//! openraft's own suite over our log and state machine.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};

use super::{
    database::StateDb,
    log_store::{self, LogStore},
    node::StateMachine,
    types::TypeConfig,
};

struct Fresh;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Fresh {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let db = StateDb::open(dir.path()).unwrap();
        let machine = StateMachine::open(db.clone()).unwrap();
        Ok((dir, log_store::open(db).unwrap(), machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openrafts_storage_suite_passes() {
    Suite::test_all(Fresh).await.unwrap();
}
