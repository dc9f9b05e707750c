"""HTTP as plugins speak it to servers, no plugin itself: whole deadlines, bounded replies, keys shown nowhere."""
