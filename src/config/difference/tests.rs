use std::path::Path;

use super::*;
