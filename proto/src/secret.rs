//! Messages that carry keys print without them.

use std::fmt;

use crate::wire;

macro_rules! hidden {
    ($($message:ident)*) => {$(
        impl fmt::Debug for wire::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        }
    )*};
}

hidden!(UnlockKey UnlockRequest NodeKey);
