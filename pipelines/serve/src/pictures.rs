//! Where finished images and uploads are: the folder of this server and, if there is one, an object store that several servers share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nextscale_files::atomic_file;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::error::ServeError;
use crate::refusal::Refusal;

/// The files of jobs, and uploads.
#[derive(Debug)]
pub(crate) struct Pictures {
    folder: PathBuf,
    shared: Option<Shared>,
}

/// An object store, and where in it.
#[derive(Debug)]
struct Shared {
    store: Arc<dyn ObjectStore>,
    root: Key,
}

impl Pictures {
    /// The files of a folder and, with an address such as `s3://BUCKET/FOLDER`, of an object store. Its access is told by variables of the
    /// environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`.
    pub fn open(folder: &Path, address: Option<&str>) -> Result<Self, ServeError> {
        let shared = address.map(|address| -> Result<Shared, ServeError> {
            let failed = |cause: String| ServeError::Pictures {
                address: address.to_owned(),
                cause,
            };
            // Other parts of the program bring ciphers too, and the choice is made once.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let url = url::Url::parse(address).map_err(|e| failed(e.to_string()))?;
            let opened = object_store::parse_url_opts(&url, std::env::vars());
            let (store, root) = opened.map_err(|e| failed(e.to_string()))?;
            let store = Arc::from(store);
            Ok(Shared { store, root })
        });
        Ok(Self {
            folder: folder.to_owned(),
            shared: shared.transpose()?,
        })
    }

    /// Whether other servers see the same files.
    pub fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Shares a file of the folder.
    ///
    /// # Errors
    /// A store that does not take it, in a sentence.
    pub async fn share(&self, folder: &str, name: &str) -> Result<(), String> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let bytes = tokio::fs::read(self.folder.join(folder).join(name)).await;
        let payload = PutPayload::from(bytes.map_err(|e| e.to_string())?);
        let key = shared.key(folder, name);
        let put = shared.store.put(&key, payload).await;
        put.map(drop).map_err(|e| e.to_string())
    }

    /// A file: from the folder, to which it is copied if only the store has it.
    pub async fn find(&self, folder: &str, name: &str) -> Result<PathBuf, Refusal> {
        let path = self.folder.join(folder).join(name);
        let Some(shared) = self.shared.as_ref().filter(|_| !path.is_file()) else {
            return Ok(path);
        };
        let gone = |error: object_store::Error| match error {
            object_store::Error::NotFound { .. } => Refusal::absent("such file any more"),
            error => {
                tracing::warn!(%error, "the store of images");
                Refusal::failed("the store of images does not answer: ask again")
            }
        };
        let found = shared.store.get(&shared.key(folder, name)).await;
        let bytes = found.map_err(gone)?.bytes().await.map_err(gone)?;
        let kept = std::fs::create_dir_all(self.folder.join(folder))
            .and_then(|()| atomic_file::write(&path, &bytes));
        kept.map_err(|e| Refusal::failed(format!("a file cannot be kept: {e}")))?;
        Ok(path)
    }

    /// Removes files of a job, here and from the store.
    pub async fn remove(&self, folder: &str, names: &[String]) -> Result<(), Refusal> {
        let failed =
            |error: String| Refusal::failed(format!("the images could not be removed: {error}"));
        if let Some(shared) = &self.shared {
            for name in names {
                let removed = shared.store.delete(&shared.key(folder, name)).await;
                match removed {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(failed(error.to_string())),
                }
            }
        }
        let removed = tokio::fs::remove_dir_all(self.folder.join(folder)).await;
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed(error.to_string()))
            }
            _ => Ok(()),
        }
    }
}

impl Shared {
    fn key(&self, folder: &str, name: &str) -> Key {
        self.root.clone().join(folder).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_come_from_where_another_server_has_put_them() {
        let [one, two, store] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let address = url::Url::from_directory_path(store.path()).unwrap();
        let open = |folder: &Path| Pictures::open(folder, Some(address.as_str())).unwrap();
        let (first, second) = (open(one.path()), open(two.path()));
        std::fs::create_dir(one.path().join("job")).unwrap();
        std::fs::write(one.path().join("job/a.png"), "image").unwrap();
        first.share("job", "a.png").await.unwrap();
        let found = second.find("job", "a.png").await.unwrap();
        assert_eq!(found, two.path().join("job/a.png"));
        assert_eq!(std::fs::read(found).unwrap(), b"image");
        assert!(second.find("job", "b.png").await.is_err());
        first.remove("job", &["a.png".to_owned()]).await.unwrap();
        second.remove("job", &[]).await.unwrap();
        assert!(second.find("job", "a.png").await.is_err());
        assert!(Pictures::open(one.path(), Some("odd://x")).is_err());
    }
}
