//! What an evenkeel program is and means.
