#include "frame_cipher.h"
